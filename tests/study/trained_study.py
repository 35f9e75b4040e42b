"""A study of all methods whose teachers it trains itself, as overrides of the default one: 110 members, 20 packs."""

TRAINED = (
    "teachers=[unet_16,unet_64,unet_160]",
    "methods=[diffusion_only,feat_kd,out_kd,out_feat_kd,lift,lift_feat,lift_place,lift_place_feat]",
    "seeds=[0,1,2,3,4]",
)
